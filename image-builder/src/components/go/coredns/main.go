// Command coredns is CoreDNS with the plugins upstream compiles in.
package main

import (
	_ "github.com/coredns/coredns/core/plugin" // upstream's plugin list
	"github.com/coredns/coredns/coremain"
)

func main() {
	coremain.Run()
}
