# regex {"want": "timeout_cpu|timeout_wall"}
import re; re.match('(a+)+$','a'*40+'b')
