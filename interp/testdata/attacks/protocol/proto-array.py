# proto-array {"want": "protocol_violation gone"}
import os; os.write(3,b'[1,2]')
