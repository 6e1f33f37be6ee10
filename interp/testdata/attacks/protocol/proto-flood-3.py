# proto-flood-3 {"want": "protocol_violation"}
import os
while True: os.write(3,b'{"t":"done","id":1,"ok":true}')
