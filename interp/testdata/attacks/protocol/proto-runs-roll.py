# proto-runs-roll {"want": "protocol_violation gone"}
import os; os.write(3,b'{"t":"runs","id":1}')
