"""What a bag holds of one episode in arrays: reports and replays of the policy."""
