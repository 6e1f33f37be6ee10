# proto-close-3-exit {"want": "protocol_violation gone|exited:1|exited:73|exited:0"}
import os; os.close(3)
