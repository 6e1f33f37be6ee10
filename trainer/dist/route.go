package dist

import "net"

// Interface is the network interface by which this rank reaches the others of other hosts: rank 0, or where that is on this host, the
// first rank that is not. "" where all are on this host, or where the address of the connection is no interface's.
func Interface(c Comm) string {
	n := networkOf(c)
	if n == nil {
		return ""
	}
	for r, m := range n.members {
		if m.Host == n.members[n.rank].Host {
			continue
		}
		if l := n.links[r].Load(); l != nil {
			return interfaceOf(l.raw.LocalAddr())
		}
	}
	return ""
}

// networkOf is the network below a Comm; nil of one that has none.
func networkOf(c Comm) *network {
	switch c := c.(type) {
	case *network:
		return c
	case *woven:
		return networkOf(c.under)
	}
	return nil
}

// interfaceOf is the interface that has an address.
func interfaceOf(a net.Addr) string {
	at, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	all, _ := net.Interfaces()
	for _, i := range all {
		of, _ := i.Addrs()
		for _, b := range of {
			if ip, ok := b.(*net.IPNet); ok && ip.IP.Equal(at.IP) {
				return i.Name
			}
		}
	}
	return ""
}
