// feeder takes a log's newest head to a witness as a log does that others wrote: it makes the proof from the log's tiles.
//
//	feeder <log's url> <log's vkey> <witness's url> <witness's vkey> <size to begin with>
//
// It prints the size for which the witness's cosignature holds.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/transparency-dev/formats/log"
	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera/client"
	w_http "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	ctx := context.Background()
	verifier := must(note.NewVerifier(os.Args[2]))
	cosigner := must(f_note.NewVerifierForCosignatureV1(os.Args[4]))
	fetcher := must(client.NewHTTPFetcher(must(url.Parse(os.Args[1])), nil))
	asked := w_http.NewWitness(must(url.Parse(os.Args[3])), http.DefaultClient)
	head, raw, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	fail(err)
	builder := must(client.NewProofBuilder(ctx, head.Size, fetcher.ReadTile))

	old := must(strconv.ParseUint(os.Args[5], 10, 64))
	lines, known, err := asked.Update(ctx, old, raw, prove(ctx, builder, old, head.Size))
	if errors.Is(err, witness.ErrCheckpointStale) {
		fmt.Println("stale", known)
		lines, _, err = asked.Update(ctx, known, raw, prove(ctx, builder, known, head.Size))
	}
	fail(err)
	cosigned, _, _, err := log.ParseCheckpoint(append(raw, lines...), verifier.Name(), verifier, cosigner)
	fail(err)
	fmt.Println(cosigned.Size)
}

func prove(ctx context.Context, builder *client.ProofBuilder, old, size uint64) [][]byte {
	if old == 0 || old == size {
		return nil
	}
	return must(builder.ConsistencyProof(ctx, old, size))
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
