# exec-subprocess {"want": "exc:PermissionError|exc:OSError|exc:FileNotFoundError"}
import subprocess; subprocess.run(['echo','BAD'])
