# A05 {"want": "exc:PermissionError"}
import socket; socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0)
