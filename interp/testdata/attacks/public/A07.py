# A07 {"want": "exc:PermissionError"}
import socket; socket.socket(socket.AF_UNIX).connect("\0@CANARY@")
