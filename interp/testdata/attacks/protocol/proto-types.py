# proto-types {"want": "protocol_violation gone"}
import os; os.write(3,b'{"t":"ready"}')
