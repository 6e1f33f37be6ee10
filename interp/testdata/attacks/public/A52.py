# A52 {"want": "protocol_violation|exc:OSError|exc:PermissionError"}
import os,socket
s=socket.socket(fileno=os.dup(3)); 
s.send(b"x"*150000)
