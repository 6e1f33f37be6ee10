# proto-rolled {"want": "protocol_violation gone"}
import os; os.write(3,b'{"t":"rolled","id":1,"st":0}')
