# identity {"want": "ok"}
import os
print(os.getuid(),os.getgid(),os.getgroups(),os.uname().nodename)
