# A04 {"want": "exc:PermissionError|exc:AttributeError"}
import socket; socket.socket(socket.AF_VSOCK,socket.SOCK_STREAM)
