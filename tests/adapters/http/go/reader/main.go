// reader reads a log over HTTP with two clients that others wrote, and believes nothing of it.
//
//	reader <url> <log's vkey> <Authorization header>
//
// It prints the size, and of each entry its SHA-256.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	ctx := context.Background()
	base, authorization := os.Args[1], os.Args[3]
	verifier := must(note.NewVerifier(os.Args[2]))
	tree := checked(ctx, base, authorization, verifier)
	read(ctx, base, authorization, tree)
}

// checked hashes every entry bundle again and compares it with every tile and with the signed root.
func checked(ctx context.Context, base, authorization string, verifier note.Verifier) tlog.Tree {
	fetcher := must(client.NewHTTPFetcher(must(url.Parse(base)), nil))
	fetcher.SetAuthorizationHeader(authorization)
	hasher := func(raw []byte) ([][]byte, error) {
		bundle := api.EntryBundle{}
		if err := bundle.UnmarshalText(raw); err != nil {
			return nil, err
		}
		hashes := make([][]byte, 0, len(bundle.Entries))
		for _, entry := range bundle.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
		}
		return hashes, nil
	}
	fail(fsck.New(verifier.Name(), verifier, fetcher, hasher, fsck.Opts{N: 2}).Check(ctx))
	head, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	fail(err)
	return tlog.Tree{N: int64(head.Size), Hash: tlog.Hash(head.Hash)}
}

// read walks the entries, each of which the client authenticates against the tree, and proves some of them.
func read(ctx context.Context, base, authorization string, tree tlog.Tree) {
	transport := &http.Client{Transport: authorized{authorization}}
	fetcher := must(torchwood.NewTileFetcher(base, torchwood.WithHTTPClient(transport)))
	reader := must(torchwood.NewClient(fetcher))
	fmt.Println(tree.N)
	next := int64(0)
	for next < tree.N {
		before := next
		for index, entry := range reader.Entries(ctx, tree, next) {
			fmt.Printf("%x\n", sha256.Sum256(entry))
			next = index + 1
		}
		fail(reader.Err())
		if next == before {
			fail(fmt.Errorf("no entry follows %d", next))
		}
	}
	for index := int64(0); index < tree.N; index += 97 {
		_, _, err := reader.Entry(ctx, tree, index)
		fail(err)
	}
}

type authorized struct{ header string }

func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	request.Header.Set("Authorization", a.header)
	return http.DefaultTransport.RoundTrip(request)
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
