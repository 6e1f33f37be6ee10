# proto-shutdown-3 {"want": "protocol_violation gone"}
import socket,time; socket.socket(fileno=3).shutdown(2); time.sleep(30)
