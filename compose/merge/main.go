// Command merge prints what Docker Compose makes of several compose files, as a line of JSON: its own library reads them,
// so that `!reset`, `!override`, merges and variables mean what they mean to `docker compose`. It needs no container
// engine. Each line of its standard input is a stack: PROFILE[,PROFILE]... FILE [FILE]...
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func merged(files, profiles []string) ([]byte, error) {
	options, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithInterpolation(true), cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return json.Marshal(project)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			fail(fmt.Errorf("%q is no PROFILES FILE [FILE]", lines.Text()))
		}
		text, err := merged(words[1:], strings.Split(words[0], ","))
		if err != nil {
			fail(fmt.Errorf("%s: %w", lines.Text(), err))
		}
		fmt.Println(string(text))
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
