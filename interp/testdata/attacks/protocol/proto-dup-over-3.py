# proto-dup-over-3 {"want": "protocol_violation gone|exited:0|exited:1|exited:73"}
import os; os.dup2(0,3)
