# A06 {"want": "exc:PermissionError"}
import socket; socket.socket(socket.AF_PACKET,socket.SOCK_RAW,0)
