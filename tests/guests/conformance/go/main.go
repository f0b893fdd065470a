// The conformance job in Go. ../README.md says what each command does.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, nil
	}
	switch args[0] {
	case "args":
		for _, arg := range args[1:] {
			fmt.Println(arg)
		}
	case "env":
		value, found := os.LookupEnv(args[1])
		if !found {
			return 3, nil
		}
		fmt.Println(value)
	case "cat":
		_, err := copyStdin()
		return 0, err
	case "stderr":
		fmt.Fprintln(os.Stderr, args[1])
	case "copy":
		content, err := os.ReadFile(args[1])
		if err != nil {
			return 1, err
		}
		return 0, os.WriteFile(args[2], content, 0o644)
	case "exit":
		return strconv.Atoi(args[1])
	case "random":
		random := make([]byte, 16)
		if _, err := rand.Read(random); err != nil {
			return 1, err
		}
		fmt.Printf("%x\n", random)
	case "clock":
		start := time.Now()
		for time.Since(start) == 0 {
		}
		fmt.Println(start.Unix(), time.Since(start).Nanoseconds())
	case "stream":
		count, err := copyStdin()
		fmt.Fprintln(os.Stderr, count)
		return 0, err
	case "trap":
		failOnPurpose(args)
	case "catch":
		printCaught()
	default:
		return 2, nil
	}
	return 0, nil
}

func copyStdin() (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}, make([]byte, 64<<10))
}

//go:noinline
func failOnPurpose(args []string) {
	panic("on purpose")
}

func printCaught() {
	defer func() {
		if recover() != nil {
			fmt.Println("caught not a number")
		}
	}()
	number, err := strconv.Atoi("x")
	if err != nil {
		panic(err)
	}
	fmt.Println(number)
}
