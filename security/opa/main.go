// Command opa is the part of the Open Policy Agent that the policies here need: its engine, its test runner and its
// coverage, with the flags and the output of the full program. The full one pulls in a server, OCI registries and
// databases, and takes about three times as long to build. Either may be used.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/version"
)

const usage = `usage: opa version
       opa check [--strict] PATH...
       opa eval [--format json] [--stdin-input] -d PATH... QUERY
       opa test [--coverage] [--threshold PERCENT] [--verbose] PATH...
`

// The full program has the same status for a test that fails and for coverage that is too low.
const failed = 2

type paths []string

func (p *paths) String() string         { return fmt.Sprint([]string(*p)) }
func (p *paths) Set(value string) error { *p = append(*p, value); return nil }

func main() {
	commands := map[string]func([]string) (int, error){"check": check, "eval": eval, "test": test, "version": show}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(1)
	}
	status, err := commands[os.Args[1]](os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func flags(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ExitOnError)
	set.Usage = func() { fmt.Fprint(os.Stderr, usage); set.PrintDefaults() }
	return set
}

func show([]string) (int, error) {
	fmt.Println("Version:", version.Version)
	return 0, nil
}

func check(args []string) (int, error) {
	set := flags("check")
	strict := set.Bool("strict", false, "unused variables, imports and arguments are errors")
	_ = set.Parse(args)
	loaded, err := loader.NewFileLoader().WithProcessAnnotation(true).All(set.Args())
	if err != nil {
		return 1, err
	}
	compiler := ast.NewCompiler().WithStrict(*strict).WithEnablePrintStatements(true)
	compiler.Compile(loaded.ParsedModules())
	if compiler.Failed() {
		return 1, compiler.Errors
	}
	return 0, nil
}

func eval(args []string) (int, error) {
	set := flags("eval")
	var data paths
	set.Var(&data, "d", "policy or data, file or folder; may repeat")
	set.Var(&data, "data", "as -d")
	stdin := set.Bool("stdin-input", false, "read the input document from standard input")
	format := set.String("format", "json", "json is the only one")
	_ = set.Parse(args)
	if set.NArg() != 1 || *format != "json" {
		return 1, errors.New(usage)
	}
	options := []func(*rego.Rego){rego.Query(set.Arg(0)), rego.Load(data, nil), rego.StrictBuiltinErrors(false)}
	if *stdin {
		value, err := ast.ValueFromReader(os.Stdin)
		if err != nil {
			return 1, err
		}
		options = append(options, rego.ParsedInput(value))
	}
	found, err := rego.New(options...).Eval(context.Background())
	if err != nil {
		return failed, err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return 0, encoder.Encode(map[string]any{"result": found})
}

func test(args []string) (int, error) {
	set := flags("test")
	coverage := set.Bool("coverage", false, "report coverage as JSON")
	threshold := set.Float64("threshold", 0, "fail when coverage is less than so many percent")
	verbose := set.Bool("verbose", false, "name every test, or every line that is not covered")
	_ = set.Parse(args)
	modules, store, err := tester.Load(set.Args(), nil)
	if err != nil {
		return 1, err
	}
	ctx := context.Background()
	txn, err := store.NewTransaction(ctx, storage.WriteParams)
	if err != nil {
		return 1, err
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithEnablePrintStatements(true).WithUseTypeCheckAnnotations(true)
	runner := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(modules).
		CapturePrintOutput(true).EnableTracing(*verbose).SetTimeout(30 * time.Second)
	var reporter tester.Reporter = tester.PrettyReporter{Output: os.Stdout, Verbose: *verbose}
	if *coverage || *threshold > 0 {
		covered := cover.New()
		runner = runner.SetCoverageQueryTracer(covered)
		reporter = tester.JSONCoverageReporter{
			Cover: covered, Modules: modules, Output: os.Stdout, Threshold: *threshold, Verbose: *verbose,
		}
	}
	results, err := runner.RunTests(ctx, txn)
	if err != nil {
		return 1, err
	}
	return report(reporter, results)
}

func report(reporter tester.Reporter, results chan *tester.Result) (int, error) {
	status, ran := 0, false
	seen := make(chan *tester.Result)
	go func() {
		defer close(seen)
		for result := range results {
			ran = true
			if !result.Pass() {
				status = failed
			}
			seen <- result
		}
	}()
	if err := reporter.Report(seen); err != nil {
		return failed, err
	}
	if !ran {
		return failed, errors.New("no tests were run")
	}
	return status, nil
}
