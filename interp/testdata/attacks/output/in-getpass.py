# in-getpass {"want": "exc:EOFError|exc:OSError|exc:PermissionError"}
import getpass; getpass.getpass()
