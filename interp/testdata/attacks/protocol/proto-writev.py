# proto-writev {"want": "protocol_violation gone"}
import os; os.writev(3,[b'{"t":"done"',b',"id":1}'])
