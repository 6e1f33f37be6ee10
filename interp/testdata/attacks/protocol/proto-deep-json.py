# proto-deep-json {"want": "protocol_violation gone"}
import os; os.write(3,b'['*4000)
