// A receiver of Lumberjack, version 2, for tests: Elastic's own server, which prints each document on a line of standard output, and
// acknowledges a window when all of its lines are written. The first line is the address it listens on.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	lumber "github.com/elastic/go-lumber/server/v2"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	certificate := flag.String("certificate", "", "PEM `file` with a chain; TLS")
	key := flag.String("key", "", "PEM `file` with its key")
	clients := flag.String("clients", "", "PEM `file` with the authority that clients must be certified by")
	delay := flag.Duration("delay", 0, "how long a window waits before it is acknowledged")
	keepAlive := flag.Duration("keep-alive", 3*time.Second, "how often a waiting window is acknowledged with 0")
	flag.Parse()

	listener, err := net.Listen("tcp", *listen)
	check(err)
	address := listener.Addr()
	if *certificate != "" {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		check(err)
		config.Certificates = []tls.Certificate{pair}
		if *clients != "" {
			pem, err := os.ReadFile(*clients)
			check(err)
			config.ClientCAs = x509.NewCertPool()
			config.ClientCAs.AppendCertsFromPEM(pem)
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		listener = tls.NewListener(listener, config)
	}
	server, err := lumber.NewWithListener(listener, lumber.Keepalive(*keepAlive), lumber.JSONDecoder(raw))
	check(err)

	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(out, address)
	check(out.Flush())
	for batch := range server.ReceiveChan() {
		time.Sleep(*delay)
		for _, event := range batch.Events {
			fmt.Fprintln(out, event)
		}
		check(out.Flush())
		batch.ACK()
	}
}

// raw keeps a document as it came, if it is one.
func raw(text []byte, event interface{}) error {
	if !json.Valid(text) {
		return errors.New("not JSON")
	}
	*event.(*interface{}) = string(text)
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
