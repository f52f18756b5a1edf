// Package proxyheader speaks the PROXY protocol, by which a load balancer, or a
// node that hands a connection over, says for whom it connects.
package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// Timeout is how long a peer that must send a header may take for it.
	Timeout = 10 * time.Second
	// maxHeader caps a header; a load balancer's with a client certificate's name
	// and the like is below 1 KiB.
	maxHeader = 4 << 10
	// maxLine caps a header of version 1, by the specification.
	maxLine = 107
	// viaType is the TLV, of the range for applications, with the id of the node
	// that hands the connection over.
	viaType proxyproto.PP2Type = 0xE4
	// maxVia caps that id: it is a DNS label.
	maxVia = 63
)

var (
	errNoHeader = errors.New("no PROXY header, though this peer must send one")
	errTooLong  = errors.New("the PROXY header is too long")
	errNotTCP   = errors.New("the PROXY header is not for a TCP connection")
	errNotV2    = errors.New("the PROXY header is not of version 2")
)

// Header is what a peer says of the connection that it hands over.
type Header struct {
	// Source is the address of the connection's other end; nil: the peer speaks
	// for itself.
	Source *net.TCPAddr
	// Via is the id of the node that hands the connection over; empty: it is a
	// load balancer's.
	Via string
	// Version is 1 or 2.
	Version int
}

// Read reads a header and not a byte more: what follows is the connection's.
func Read(r io.Reader) (Header, error) {
	raw, err := readRaw(r)
	if err != nil {
		return Header{}, err
	}
	parsed, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), maxHeader))
	if err != nil {
		return Header{}, err
	}
	h := Header{Version: int(parsed.Version), Via: via(parsed)}
	if parsed.Command.IsLocal() || parsed.TransportProtocol.IsUnspec() {
		return h, nil
	}
	source, _, ok := parsed.TCPAddrs()
	if !ok {
		return Header{}, errNotTCP
	}
	h.Source = &net.TCPAddr{IP: source.IP, Port: source.Port}
	return h, nil
}

func via(parsed *proxyproto.Header) string {
	tlvs, err := parsed.TLVs()
	if err != nil {
		return ""
	}
	for _, t := range tlvs {
		if t.Type == viaType && len(t.Value) <= maxVia {
			return string(t.Value)
		}
	}
	return ""
}

// readRaw finds the header's end by its own words, without reading behind it.
func readRaw(r io.Reader) ([]byte, error) {
	raw := make([]byte, len(proxyproto.SIGV2), 256) // no header of version 1 is shorter
	if _, err := io.ReadFull(r, raw[:1]); err != nil {
		return nil, err
	}
	if raw[0] != proxyproto.SIGV1[0] && raw[0] != proxyproto.SIGV2[0] {
		return nil, errNoHeader
	}
	if _, err := io.ReadFull(r, raw[1:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoHeader, err)
	}
	switch {
	case bytes.Equal(raw, proxyproto.SIGV2):
		return readV2(r, raw)
	case bytes.HasPrefix(raw, proxyproto.SIGV1):
		return readV1(r, raw)
	}
	return nil, errNoHeader
}

func readV2(r io.Reader, raw []byte) ([]byte, error) {
	raw, err := more(r, raw, 4) // command, family, length
	if err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(raw[len(raw)-2:]))
	if len(raw)+length > maxHeader {
		return nil, errTooLong
	}
	return more(r, raw, length)
}

// readV1 reads to the line's end, byte by byte: there is no other way not to read
// too much.
func readV1(r io.Reader, raw []byte) (_ []byte, err error) {
	if bytes.IndexByte(raw, '\n') >= 0 {
		return nil, errNoHeader // shorter than any
	}
	for raw[len(raw)-1] != '\n' {
		if len(raw) == maxLine {
			return nil, errTooLong
		}
		if raw, err = more(r, raw, 1); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// more reads n bytes behind raw.
func more(r io.Reader, raw []byte, n int) ([]byte, error) {
	all := slices.Grow(raw, n)[:len(raw)+n]
	_, err := io.ReadFull(r, all[len(raw):])
	return all, err
}

// Format is the header with which a node hands a connection over: source is its
// other end, destination where it arrived, via the node's id.
func Format(source, destination net.Addr, via string) ([]byte, error) {
	h := proxyproto.HeaderProxyFromAddrs(2, source, destination)
	if h.TransportProtocol != proxyproto.TCPv4 && h.TransportProtocol != proxyproto.TCPv6 {
		return nil, errNotTCP
	}
	if err := h.SetTLVs([]proxyproto.TLV{{Type: viaType, Value: []byte(via)}}); err != nil {
		return nil, err
	}
	return h.Format()
}
