// Command containerd is containerd, and ctr when it is called by that name.
//
// The client shares nearly all of its code with the daemon, so as a link it
// costs next to nothing. The shim stays a file of its own: one runs for every
// pod, and it must register its plugins alone.
//
// Both do what upstream's own main() does. The daemon has one plugin more, for
// the images that lie in the root.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/containerd/v2/cmd/ctr/app"

	_ "bedplate/containerd/baked"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
)

func main() {
	name, run := "containerd", command.App().Run
	if filepath.Base(os.Args[0]) == "ctr" {
		name, run = "ctr", app.New().Run
	}
	if err := run(context.Background(), os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
