"""Jobs on Amazon SageMaker: started from here, run by the same worker there, watched and brought home."""
