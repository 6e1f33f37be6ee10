# pause {"want": "timeout_wall"}
import signal; signal.pause()
