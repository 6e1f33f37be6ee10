# net-pass-fd {"as": "denied", "want": "ok"}
socket.socketpair()[0].sendmsg([b'x'],[(1,1,b'\0\0\0\0')])
s(@307/269@,3,0,1,0)
s(@46/211@,3,ctypes.create_string_buffer(64),0)
