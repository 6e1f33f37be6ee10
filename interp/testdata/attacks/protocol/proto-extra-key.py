# proto-extra-key {"want": "protocol_violation gone"}
import os; os.write(3,b'{"t":"done","id":1,"ok":true,"stdout":"x"}')
