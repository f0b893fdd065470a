package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	shout := false
	for _, arg := range os.Args[1:] {
		if arg != "--shout" {
			return errors.New("usage: {{name}} [--shout] < NAMES")
		}
		shout = true
	}
	greeting, ok := os.LookupEnv("GREETING")
	if !ok {
		greeting = "Hello"
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := bufio.NewScanner(os.Stdin)
	greeted := 0
	for lines.Scan() {
		name := strings.TrimSpace(lines.Text())
		if name == "" {
			continue
		}
		text := greeting + ", " + name + "!"
		if shout {
			text = strings.ToUpper(text)
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
		greeted++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if greeted == 0 {
		return errors.New("no names on stdin")
	}
	return nil
}
