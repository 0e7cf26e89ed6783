"""What Desk costs, as ratios against its peers in the same run."""
