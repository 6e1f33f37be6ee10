# A51 {"want": "protocol_violation gone"}
import os; os.write(3,b"\x00\xff{{{{")
