# proto-empty {"want": "protocol_violation|ok"}
import os,time; os.write(3,b'');
import socket; socket.socket(fileno=os.dup(3)).send(b''); time.sleep(0.3); print('x')
