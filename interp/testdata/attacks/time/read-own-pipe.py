# read-own-pipe {"want": "timeout_wall"}
import os; r,w=os.pipe(); os.read(r,1)
