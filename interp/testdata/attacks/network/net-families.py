# net-families {"as": "denied", "want": "ok"}
socket.socket(socket.AF_INET6)
socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)
socket.socket(38)
socket.socket(44)
socket.socket(31)
socket.socket(29)
socket.socketpair(socket.AF_INET)
