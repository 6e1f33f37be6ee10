# proto-fail {"want": "protocol_violation gone"}
import os; os.write(3,b'{"t":"fail","stage":"x","errno":1}')
