# proto-close-3 {"want": "protocol_violation gone"}
import os,time; os.close(3); time.sleep(30)
