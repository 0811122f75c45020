/** What a control operation cannot do, in the words of whoever runs the simulator. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
}
