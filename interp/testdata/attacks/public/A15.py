# A15 {"want": "ok", "wantC": "exc:PermissionError"}
import os; os.symlink("/root","/tmp/l"); os.symlink("@SECRET_FILE@","/tmp/s")
for p in ("/tmp/l/.bashrc","/tmp/s"):
    try: print("BAD",open(p).read())
    except OSError as e: print(type(e).__name__)
