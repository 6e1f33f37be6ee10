# net-pair-reconnect {"as": "denied", "want": "ok"}
[a.connect("\0@CANARY@") for a in socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM)]
[a.sendto(b"x","\0@CANARY@") for a in socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM)]
[a.sendmsg([b"x"],[],0,"\0@CANARY@") for a in socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM)]
socket.socketpair()[0].bind("\0x@CANARY@")
socket.socketpair()[0].listen()
