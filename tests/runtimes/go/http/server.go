// SPDX-License-Identifier: GPL-2.0

// A small HTTP server, as a program has it that knows nothing of kqueues. It prints
// its address, and ends when its input does.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
)

// Requests that hang, and those whose client has given up.
var hanging, left atomic.Int32

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello %s", r.URL.Query().Get("name"))
}

func echo(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	io.Copy(w, r.Body)
}

// Answers each line when it comes.
func talk(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	out.EnableFullDuplex()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		fmt.Fprintf(w, "you said %s\n", lines.Text())
		out.Flush()
	}
}

func hang(w http.ResponseWriter, r *http.Request) {
	hanging.Add(1)
	<-r.Context().Done()
	left.Add(1)
}

func hung(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%d %d", hanging.Load(), left.Load())
}

// What tr makes of the body.
func upper(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	cmd := exec.CommandContext(r.Context(), "tr", "a-z", "A-Z")
	cmd.Stdin = r.Body
	cmd.Stdout = w
	if err := cmd.Run(); err != nil {
		log.Print(err)
	}
}

func serve() error {
	mux := http.NewServeMux()
	for path, handler := range map[string]http.HandlerFunc{
		"/hello": hello, "/echo": echo, "/talk": talk, "/hang": hang, "/hung": hung, "/upper": upper,
	} {
		mux.HandleFunc(path, handler)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := http.Server{Handler: mux}
	ended := make(chan error)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		ended <- server.Shutdown(context.Background())
	}()
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return <-ended
}

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}
