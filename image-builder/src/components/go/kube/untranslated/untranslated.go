// Package untranslated keeps kubectl's messages in English.
//
// kubectl's packages translate their help texts while they are initialised,
// and for that pack the whole catalogue of translations first. In a file of
// many programs every one of them would pay for it at each start, and in
// memory, for messages that are English on a node anyway.
package untranslated

import "k8s.io/kubectl/pkg/util/i18n"

// Packages are initialised as soon as what they import is, in the order of
// their paths; this one's comes before kubectl's.
func init() {
	// Fails only when translations are loaded already: slower, and no harm.
	_ = i18n.SetLoadTranslationsFunc(func() error { return nil })
}
