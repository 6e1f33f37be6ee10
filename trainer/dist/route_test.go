package dist

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// The interface is that of the connection to another host; on one host there is none.
func TestInterfaceOfTheRoute(t *testing.T) {
	comms, errs := joinAll(t, 3, func(_ *ID, o *Options) { o.TLS = true })
	require.NoError(t, errors.Join(errs...))
	defer eachRank(comms, func(c Comm) { c.Close() })
	n := comms[1].(*network)
	require.Empty(t, Interface(n))
	require.Empty(t, Interface(&Alone{}))
	n.members[0].Host = "another"               // though it is here
	_, err := net.InterfaceByName(Interface(n)) // whichever of this host's addresses answered first
	require.NoError(t, err)
	for _, a := range []net.Addr{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 250)}, &net.UnixAddr{}} {
		require.Empty(t, interfaceOf(a))
	}
}
