# A50 {"want": "protocol_violation|ok;protocol_violation|ok;ok|protocol_violation"}
import os,json; os.write(3,json.dumps({"t":"done","id":1,"ok":True}).encode()); import time; time.sleep(0.2); print("late")
# next cell
print("second")
# next cell
print("third")
