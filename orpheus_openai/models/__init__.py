"""What can speak: Orpheus, and eSpeak NG as a preview where there is no GPU."""
