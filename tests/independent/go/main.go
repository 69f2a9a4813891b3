// independent verifies packs, heads and proofs of ours with libraries that others wrote, and with nothing of ours.
//
//	independent pack  <pack.zip> <log's vkey> <policy>   every proof of a pack, and its range, lead to its signed head
//	independent heads <pack.zip> <log's vkey> <dump>     a whole log in a pack, and heads and proofs of many sizes beside it
//
// The dump has one JSON object a line: {"note": …}, {"index", "size", "hashes"} or {"old", "size", "hashes"}.
// It prints what it verified, as counts.
package main

import (
	"archive/zip"
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type files map[string][]byte

func main() {
	pack, verifier := open(os.Args[2]), must(note.NewVerifier(os.Args[3]))
	switch os.Args[1] {
	case "pack":
		verifyPack(pack, verifier, must(os.ReadFile(os.Args[4])))
	case "heads":
		verifyHeads(pack, verifier, os.Args[4])
	}
}

func open(path string) files {
	reader := must(zip.OpenReader(path))
	found := files{}
	for _, file := range reader.File {
		content := must(file.Open())
		found[file.Name] = must(io.ReadAll(content))
	}
	return found
}

// head is what the log signed: any other signature, or none, ends the program.
func head(raw []byte, verifier note.Verifier) tlog.Tree {
	opened := must(note.Open(raw, note.VerifierList(verifier)))
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != verifier.Name() {
		fail(fmt.Errorf("the head is of %q", origin))
	}
	size, rest, _ := strings.Cut(rest, "\n")
	root := must(base64.StdEncoding.DecodeString(strings.TrimSuffix(rest, "\n")))
	tree := tlog.Tree{N: must(strconv.ParseInt(size, 10, 64))}
	copy(tree.Hash[:], root)
	return tree
}

func verifyPack(pack files, verifier note.Verifier, policy []byte) {
	tree := head(pack["checkpoint"], verifier)
	witnesses := must(tessera.NewWitnessGroupFromPolicy(policy))
	if !witnesses.Satisfied(pack["checkpoint"]) {
		fail(fmt.Errorf("the policy is not met"))
	}
	proofs := 0
	for name, raw := range pack {
		if !strings.HasPrefix(name, "proofs/") {
			continue
		}
		var found proof.TLogProof
		fail(found.Unmarshal(raw))
		proven := head(found.Checkpoint, verifier)
		path := make(tlog.RecordProof, len(found.Hashes))
		for n, hash := range found.Hashes {
			path[n] = tlog.Hash(hash)
		}
		leaf := tlog.RecordHash(entry(pack, found.Index))
		fail(tlog.CheckRecord(path, proven.N, proven.Hash, int64(found.Index), leaf))
		if proven != tree {
			fail(fmt.Errorf("%s is of another head", name))
		}
		proofs++
	}
	fmt.Printf("%d proofs, %d entries of a range\n", proofs, verifyRange(pack, tree))
}

func entry(pack files, index uint64) []byte {
	for _, folder := range []string{"entries", "keys", "seals", "erasures"} {
		if found, ok := pack[fmt.Sprintf("%s/%d", folder, index)]; ok {
			return found
		}
	}
	fail(fmt.Errorf("there is no entry %d", index))
	return nil
}

// verifyRange rebuilds the root from the entries and the compact ranges on both sides.
func verifyRange(pack files, tree tlog.Tree) int {
	raw, ok := pack["range.json"]
	if !ok {
		return 0
	}
	var sides map[string][][2]any
	fail(json.Unmarshal(raw, &sides))
	var manifest struct{ Asked struct{ First, End uint64 } }
	fail(json.Unmarshal(pack["manifest.json"], &manifest))
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	whole := must(factory.NewRange(0, manifest.Asked.First, hashes(sides["left"])))
	entries := bundles(pack, manifest.Asked.First, manifest.Asked.End)
	for _, entry := range entries {
		fail(whole.Append(rfc6962.DefaultHasher.HashLeaf(entry), nil))
	}
	right := must(factory.NewRange(manifest.Asked.End, uint64(tree.N), hashes(sides["right"])))
	fail(whole.AppendRange(right, nil))
	if root := must(whole.GetRootHash(nil)); tlog.Hash(root) != tree.Hash {
		fail(fmt.Errorf("the range leads to another root"))
	}
	return len(entries)
}

func hashes(nodes [][2]any) [][]byte {
	found := [][]byte{}
	for _, node := range nodes {
		found = append(found, must(base64.StdEncoding.DecodeString(node[1].(string))))
	}
	return found
}

var bundle = regexp.MustCompile(`^entries/(\d+)-(\d+)$`)

func bundles(pack files, first, end uint64) [][]byte {
	entries := make([][]byte, end-first)
	for name, raw := range pack {
		match := bundle.FindStringSubmatch(name)
		if match == nil {
			continue
		}
		for index := must(strconv.ParseUint(match[1], 10, 64)) - first; len(raw) > 0; index++ {
			length := binary.BigEndian.Uint16(raw)
			entries[index], raw = raw[2:2+length], raw[2+length:]
		}
	}
	return entries
}

// verifyHeads stores the hashes of the whole log as a Go module mirror's client would, and holds all else against them.
func verifyHeads(pack files, verifier note.Verifier, dump string) {
	stored := []tlog.Hash{}
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for n, index := range indexes {
			found[n] = stored[index]
		}
		return found, nil
	})
	size := head(pack["checkpoint"], verifier).N
	entries := bundles(pack, 0, uint64(size))
	for n, entry := range entries {
		stored = append(stored, must(tlog.StoredHashes(int64(n), entry, reader))...)
	}
	heads, inclusions, consistencies := 0, 0, 0
	lines := bufio.NewScanner(must(os.Open(dump)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Note             string
			Index, Old, Size *int64
			Hashes           []string
		}
		fail(json.Unmarshal(lines.Bytes(), &line))
		path := make([]tlog.Hash, len(line.Hashes))
		for n, text := range line.Hashes {
			copy(path[n][:], must(base64.StdEncoding.DecodeString(text)))
		}
		switch {
		case line.Note != "":
			tree := head([]byte(line.Note), verifier)
			if must(tlog.TreeHash(tree.N, reader)) != tree.Hash {
				fail(fmt.Errorf("the head of %d entries has another root", tree.N))
			}
			heads++
		case line.Index != nil:
			root := must(tlog.TreeHash(*line.Size, reader))
			fail(tlog.CheckRecord(path, *line.Size, root, *line.Index, tlog.RecordHash(entries[*line.Index])))
			inclusions++
		default:
			old, now := must(tlog.TreeHash(*line.Old, reader)), must(tlog.TreeHash(*line.Size, reader))
			fail(tlog.CheckTree(path, *line.Size, now, *line.Old, old))
			consistencies++
		}
	}
	fail(lines.Err())
	fmt.Printf("%d entries, %d heads, %d inclusions, %d consistencies\n", len(entries), heads, inclusions, consistencies)
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
