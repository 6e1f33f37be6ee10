# proto-send-fd {"want": "ok", "has": "denied"}
import socket,array,os
s=socket.socket(fileno=os.dup(3))
try: s.sendmsg([b'{}'],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[0]*50))]); print('BAD')
except OSError: print('denied')
