// witness serves transparency-dev's witness on a port of the system's choice.
//
//	witness <log's vkey> <witness's name>
//
// It prints its address and its vkey, and forgets everything when it ends.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	ctx := context.Background()
	known := must(note.NewVerifier(os.Args[1]))
	secret, public, err := note.GenerateKey(rand.Reader, os.Args[2])
	fail(err)
	signer := must(f_note.NewSignerForCosignatureV1(secret))
	served := must(witness.New(ctx, witness.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return known, origin == known.Name(), nil
		},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Printf("http://%s %s\n", listener.Addr(), must(f_note.VKeyToCosignatureV1(public)))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(served).AddCheckpoint)
	fail(http.Serve(listener, mux))
}

func must[T any](value T, err error) T {
	fail(err)
	return value
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
