// Command kube is every Kubernetes program of a node, and etcd, in one file.
//
// Seven programs that share most of their code take a third of the space of
// seven files. Which one runs is told by the name it is called by (a symlink
// kubelet -> kube makes `kubelet` work as upstream's own), or by the first
// argument when it is called as kube: `kube kubelet --version`.
//
// Each entry below does what upstream's own main() of that program does, no more.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	_ "time/tzdata" // CronJobs name time zones, and the image carries no zoneinfo

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "bedplate/kube/untranslated" // spares every start the cost of kubectl's translations

	_ "k8s.io/client-go/plugin/pkg/client/auth"           // kubectl's credential plugins
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info on /metrics
)

const self = "kube"

type program struct {
	name string
	// run does not return on failure unless it returns the exit status.
	run func() int
}

// In the order in which they are listed to a person.
var programs = []program{
	{"kubelet", func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) }},
	{"kube-apiserver", func() int { return cli.Run(apiserver.NewAPIServerCommand()) }},
	{"kube-controller-manager", func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) }},
	{"kube-scheduler", func() int { return cli.Run(scheduler.NewSchedulerCommand()) }},
	{"kube-proxy", kubeProxy},
	{"kubectl", kubectl},
	{"etcd", func() int { etcdmain.Main(os.Args); return 0 }},
}

func main() {
	name := filepath.Base(os.Args[0])
	if name == self {
		if len(os.Args) < 2 {
			usage(os.Stderr)
			os.Exit(2)
		}
		name = os.Args[1]
		if name == "help" || name == "-h" || name == "--help" {
			usage(os.Stdout)
			return
		}
		// Programs print their usage by os.Args[0], and kubectl finds its
		// plugins by it.
		os.Args = os.Args[1:]
	}
	for _, program := range programs {
		if program.name == name {
			os.Exit(program.run())
		}
	}
	fmt.Fprintf(os.Stderr, "%s: there is no program %q in this file.\n", self, name)
	usage(os.Stderr)
	os.Exit(2)
}

func kubeProxy() int {
	// kube-proxy takes every flag that a package in its file registered with
	// Go's own flag package. Here that would be the kubelet's cAdvisor as well.
	flag.CommandLine = flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	return cli.Run(proxy.NewProxyCommand())
}

func kubectl() int {
	// Verbosity counts from the moment the command is built, plugins and
	// kuberc included, which is before its flags are parsed.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	return 0
}

func usage(to io.Writer) {
	names := make([]string, len(programs))
	for i, program := range programs {
		names[i] = program.name
	}
	fmt.Fprintf(to, "usage: %s PROGRAM [ARGUMENT]...\nor by a link of that name. Programs: %s\n", self, strings.Join(names, ", "))
}
